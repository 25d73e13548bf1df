"""`basicsr idr`: are degradation representations discriminative, and are they used?"""
from __future__ import annotations

from .arguments import add_study, make_parser

DESCRIPTION = """\
Extracts the implicit degradation representations (IDRs) of networks over images x degradations, and reports how well
they tell the degradations apart and what else is in them; with --swap instead, what the SR network makes of another's
IDR."""
EPILOG = """\
The option file lists images, methods (label: weights) and grids of degradations; see options/idr_LightBSR.yml.
Results land in ./results/<name>:
  idr.md, .csv, .json           silhouette, Davies-Bouldin, k-NN and linear-probe accuracy, content leakage, alignment,
                                uniformity, CKA with a reference; R2 of a regression to sigma, lambda, theta, noise
  tsne_*, pca_*, distance_*     figures, as .png and .pdf
  idr_swap.md, .csv, .json      (--swap) PSNR with the IDR of another degradation, of another image, the mean IDR, and an
                                IDR from a noisy estimate; swap_* shows all pairs of degradations

  basicsr idr -opt options/idr_LightBSR.yml --skip-missing     (of the methods in the file, those that are trained)
  basicsr idr -opt options/idr_LightBSR.yml --swap
"""


def run(arguments: list[str]) -> int:
    parser = make_parser('idr', DESCRIPTION, EPILOG)
    add_study(parser)
    parser.add_argument('--swap', action='store_true', help='swap IDRs instead of analysing them')
    parsed = parser.parse_args(arguments)
    from .. import plugin
    plugin.register()
    from ..evaluation import idr_analysis, idr_samples, idr_swap, plots
    plots.load('idr')
    options = idr_samples.read_options(parsed.opt, parsed.data_root)
    methods, skipped = options.load_methods(parsed.skip_missing)
    print(*skipped, sep='\n', end='\n' * bool(skipped))
    idr_samples.check_methods(options, methods)
    print((idr_swap if parsed.swap else idr_analysis).run(options, methods))
    return 0
