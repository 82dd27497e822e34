"""Pictures to try, for the domains of the weights."""

import numpy as np
import pytest
from skimage import data

from ugatit_mm.apis.examples import EXAMPLES, drawn, find_examples, is_drawn, is_of
from ugatit_mm.datasets.drawings import charcoal_drawing


def test_those_of_a_domain_come_first():
    assert list(find_examples('anime')) == list(EXAMPLES)
    assert next(iter(find_examples('Cats'))) == 'cat'
    assert [name for name in EXAMPLES if is_of(name, 'photo')] == list(EXAMPLES)


@pytest.mark.parametrize('domain', ['drawing', 'Drawings'])
def test_drawings_are_made_of_them(domain):
    assert is_drawn(domain) and not is_drawn('photo')
    expected = charcoal_drawing(data.chelsea())
    np.testing.assert_array_equal(drawn(find_examples(domain)['cat']), expected)


def test_what_a_package_lacks_is_left_out(monkeypatch):
    for name in ('flower', 'cat'):
        monkeypatch.setitem(EXAMPLES, name, EXAMPLES[name]._replace(file='no_such.png'))
    gone = EXAMPLES['temple']._replace(package='no_such_package')
    monkeypatch.setitem(EXAMPLES, 'temple', gone)
    assert list(find_examples('cat')) == ['person', 'coffee']
