"""U-GAT-IT for MMagic: importing this package registers everything."""

from . import compat
from .version import __version__

__all__ = ['__version__']

if not compat.doctor_asked():  # the doctor must run where the imports below fail
    compat.apply()
    from . import apis, datasets, engine, evaluation, hooks, models

    compat.after_import('mmagic.apis.mmagic_inferencer', apis.add_to_mmagic_inferencer)
    __all__ += ['apis', 'datasets', 'engine', 'evaluation', 'hooks', 'models']
