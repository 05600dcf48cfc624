"""Does a TensorFlow image-to-image model survive its trip to Core ML?"""

from __future__ import annotations
