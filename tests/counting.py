"""Counts what a GPU would have to launch."""

from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ugatit_mm.kernels import support


class Count(TorchDispatchMode):
    """Operators that launch something on a GPU, and launches of kernels."""

    FREE = (
        'empty',
        'view',
        'unbind',
        'detach',
        'select',
        'as_strided',
        'expand',
        'alias',
        'squeeze',
    )

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if not any(free in name for free in self.FREE):
            self.seen.append(name)
        return function(*args, **(kwargs or {}))

    def launch(self, kernel, *args, **options) -> None:
        self.seen.append('launch')
        with _disable_current_modes():  # the interpreter's own operators
            support.launch(kernel, *args, **options)
