from __future__ import annotations

import re

import encoder_service.errors as module
from encoder_service.errors import ServiceError


def tree(root: type[ServiceError]) -> list[type[ServiceError]]:
    return [root, *(each for child in root.__subclasses__() for each in tree(child))]


def test_codes_are_unique_and_stable_in_form() -> None:
    codes = [each.code for each in tree(ServiceError)]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", code) for code in codes)


def test_the_drawing_shows_every_class_with_its_code() -> None:
    drawing = module.__doc__ or ""
    for each in tree(ServiceError)[1:]:
        line = next(line for line in drawing.splitlines() if f" {each.__name__} " in f"{line} ")
        if each.__subclasses__() == []:
            assert each.code in line
            assert ("retryable" in line) == each.retryable


def test_every_class_says_what_it_means() -> None:
    assert all(each.__doc__ for each in tree(ServiceError))
