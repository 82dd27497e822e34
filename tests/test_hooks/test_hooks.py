"""What the hooks promise beyond the end-to-end tests."""

import pytest

from ugatit_mm.files import output_names
from ugatit_mm.hooks import TranslationSheetHook


def test_each_source_gets_a_name_of_its_own():
    paths = ['/d/testA/x.jpg', '/d/testA/y.jpg', '/d/testA/y.PNG', '/d/testA/sub/x.jpg']
    assert list(output_names(paths, '/d/testA').values()) == [
        'x.png',
        'y.jpg.png',
        'y.PNG.png',
        'sub/x.png',
    ]


def test_names_that_differ_only_in_case_stay_apart():
    """They would be one file where the file system does not tell them apart."""
    assert list(output_names(['/d/A.jpg', '/d/a.bmp'], '/d').values()) == ['A.jpg.png', 'a.bmp.png']


def test_names_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ValueError, match='rename one'):
        output_names(['/d/a.jpg', '/d/a.bmp', '/d/a.jpg.tif'], '/d')


def test_sheet_hook_refuses_what_it_cannot_do():
    for fields in ({'interval': 0}, {'num_images': 0}, {'num_styles': 0}, {'early': [5, 0]}):
        with pytest.raises(ValueError, match='must be 1 or more'):
            TranslationSheetHook(**fields)
