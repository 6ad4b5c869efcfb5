"""Images of digits: filters, centring, and distances that let pixels move.

| file | what it computes |
| --- | --- |
| `image_filters.py` | deskewing, smoothing, gradients and their directions |
| `digit_centering.py` | a drawn or photographed digit laid out as MNIST lays out its digits |
| `deformation.py` | the image distortion model: how well one image explains another when pixels may move |

    out[y, x] = Σ_v Σ_u kernel[v, u]·image[y + v, x + u]          scipy.ndimage.correlate(image, kernel)
"""
