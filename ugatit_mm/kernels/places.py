"""Mapping of a padded map's lines to the lines of the map, for kernels.

A padded map has ``before`` extra lines at the start of an axis, and ``after`` at the end.
Reflection copies line ``before - i`` of the map to line ``i``; replication, of one line at most,
copies the border line.
"""

from .support import jit, tl


@jit
def shown(line, before, size, REFLECT: tl.constexpr):
    """Return the line of the map, 0 to ``size - 1``, that a line of the padded map copies."""
    at = line - before
    if REFLECT:
        at = tl.where(at < 0, -at, at)
        return tl.where(at >= size, 2 * (size - 1) - at, at)
    return tl.minimum(tl.maximum(at, 0), size - 1)


@jit
def first_copy(line, before, size, REFLECT: tl.constexpr):
    """Return the padding line at the start that copies ``line`` of the map, -1 if none does."""
    if REFLECT:
        return tl.where((line >= 1) & (line <= before), before - line, -1)
    return tl.where((line == 0) & (before == 1), 0, -1)


@jit
def last_copy(line, before, after, size, REFLECT: tl.constexpr):
    """Return the padding line at the end that copies ``line`` of the map, -1 if none does."""
    if REFLECT:
        mirrored = (line >= size - 1 - after) & (line <= size - 2)
        return tl.where(mirrored, before + 2 * (size - 1) - line, -1)
    return tl.where((line == size - 1) & (after == 1), before + size, -1)
