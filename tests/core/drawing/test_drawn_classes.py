"""The classes are those of Helen."""

from faceparse.core.drawing.drawn_classes import CLASSES, HAIR, LEFT_BROW, LOWER_LIP


def test_classes_follow_helen() -> None:
    assert CLASSES[0] == "background"
    assert CLASSES.index("left_brow") == LEFT_BROW
    assert CLASSES.index("lower_lip") == LOWER_LIP
    assert CLASSES.index("hair") == len(CLASSES) - 1 == HAIR
