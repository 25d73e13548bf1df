"""`basicsr test`: BasicSR's test loop, and a table beside the paper's figures."""
from __future__ import annotations

from .pipeline import check_arguments

DESCRIPTION = 'Tests the network that an option file describes, and prints a table.'
EPILOG = """\
The table is also written to ./results/<name>/table.md, .csv and .json, with hashes of all that was tested in
manifest.json. Test sets that are not on the disk are named in it as missing.

  basicsr test -opt options/test_bicubic_setting1.yml
  basicsr test -opt options/test_setting1.yml --force_yml path:pretrain_network_g=net_g_latest.pth
"""


def run(arguments: list[str]) -> int:
    if text := test_and_report(arguments):
        print(text)
    return 0


def test_and_report(arguments: list[str]) -> str:
    """Tests, and writes the results; returns their table as markdown. Of several processes, only the first has any."""
    parsed = check_arguments('test', DESCRIPTION, EPILOG, arguments)
    from .. import basicsr_compat, plugin
    plugin.register()
    from ..evaluation.tables import report
    model = basicsr_compat.run_test(parsed.root)
    if model.opt['rank'] != 0:
        return ''
    return report(model.opt, getattr(model, 'best_metric_results', {}), model.get_bare_model(model.net_g))
