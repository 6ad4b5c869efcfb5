"""Images of digits and other small pictures: normalisation, gradient features, deformation matching, presets."""

from somknn.images.deformation import DeformationClassifier
from somknn.images.presets import PRESETS, preset
from somknn.images.transformers import Blur, Deskew, GradientOrientation

__all__ = ["PRESETS", "Blur", "DeformationClassifier", "Deskew", "GradientOrientation", "preset"]
