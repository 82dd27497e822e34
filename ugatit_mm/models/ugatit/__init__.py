"""U-GAT-IT: networks and model."""

from .recipes import RECIPES
from .rho import RhoHook, plot_rho
from .ugatit import UGATIT
from .ugatit_discriminator import UGATITDiscriminator
from .ugatit_generator import UGATITGenerator

__all__ = ['RECIPES', 'UGATIT', 'RhoHook', 'UGATITDiscriminator', 'UGATITGenerator', 'plot_rho']
