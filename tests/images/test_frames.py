"""More input images than a video has frames are refused, with what helps."""

import pytest

from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.images.frames import check_frames


@pytest.mark.parametrize(
    ("references", "step"), [(True, "Set `input_mode` to references"), (False, "Send fewer")], ids=["also", "frames"]
)
def test_the_next_step_is_one_that_the_model_can_take(references: bool, step: str) -> None:
    request = ImageRequest(model="m", prompt="a fox", images=(InputImage(b"1", "image/png"),) * 3)
    with pytest.raises(BadRequest) as refused:
        check_frames(request, "Dance", references=references)
    assert str(refused.value) == f"Dance takes the first and the last frame. {step}."
