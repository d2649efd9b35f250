"""A program that decodes one HEIC file: file on stdin, PNG on stdout. It is run by `heic`, never imported by the plugin.

It ends by its own limits of time and memory, whatever the file does to the decoder.
"""

import io
import resource
import signal
import sys

SECONDS = 60
MEMORY = 2 * 1024**3  # bytes of address space; the largest image takes 0.3 GiB decoded
MAX_PIXELS = 8192 * 8192  # as `sniff.MAX_PIXELS`; importing it would load the plugin


def main() -> None:
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = io.BytesIO()
    try:
        _decode(io.BytesIO(sys.stdin.buffer.read()), out)
    except Exception as error:  # noqa: BLE001 -- decoders raise whatever a damaged file makes them meet
        sys.stdout.buffer.write(b"-" + (str(error) or type(error).__name__).encode())
    else:
        sys.stdout.buffer.write(b"+")
        sys.stdout.buffer.write(out.getbuffer())
    sys.stdout.buffer.flush()


def _decode(file: io.BytesIO, out: io.BytesIO) -> None:
    import pi_heif  # noqa: PLC0415 -- what fails here shall be told too
    from PIL import Image  # noqa: PLC0415 -- see the line before

    Image.MAX_IMAGE_PIXELS = None
    pi_heif.register_heif_opener()
    image = Image.open(file, formats=["HEIF"])
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"the image has {image.width}×{image.height} pixels")
    image.load()
    image.save(out, "PNG", compress_level=0, icc_profile=image.info.get("icc_profile"), exif=image.info.get("exif"))


if __name__ == "__main__":
    main()
