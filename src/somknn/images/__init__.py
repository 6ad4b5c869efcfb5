"""Small images such as digits: normalisation, gradient features, deformation matching, presets."""

from somknn.images.deformation import DeformationClassifier
from somknn.images.presets import PRESETS, preset
from somknn.images.transformers import Blur, CenterDigit, Deskew, GradientOrientation

__all__ = ["PRESETS", "Blur", "CenterDigit", "DeformationClassifier", "Deskew", "GradientOrientation", "preset"]
