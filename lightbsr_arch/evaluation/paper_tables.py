"""The papers' tables as descriptions of their cells, and rows of ours set beside what they print."""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ..config import suggest
from ..degradations import Degradation, benchmark_degradations
from . import paper

COSTS = {'params_m': 'params (M)', 'gflops': 'GFLOPs', 'ms': 'ms'}
BLIND_TEST_SETS = ('Set5', 'Set14', 'B100', 'Urban100', 'Manga109')
REAL_TEST_SETS = ('AIM2019', 'NTIRE2020')


@dataclass(frozen=True)
class Column:
    """A figure's place.

    degradations: Labels of those whose mean it is; none for real pairs. label: What lists call them. group, heading:
    What stands above the column, in two lines.
    """

    test_set: str
    metric: str
    degradations: tuple[str, ...]
    label: str
    group: str
    heading: str

    @property
    def digits(self) -> int:
        return 2 if self.metric == 'psnr' else 4


@dataclass(frozen=True)
class PaperTable:
    """One of the papers' tables.

    source: Its key in `paper_tables.yml`. test_sets, setting (see `benchmark_degradations`; None for real pairs), metrics:
    What it measures, in the order in which it prints. is_mean: Over the setting's degradations. quoted: Rows that were
    measured on other LR images, which get no difference; `*` for all. notes: What a reader must know.
    """

    title: str
    source: str
    test_sets: tuple[str, ...]
    setting: Optional[str]
    metrics: tuple[str, ...] = ('psnr',)
    is_mean: bool = False
    quoted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def known_test_sets(self) -> tuple[str, ...]:
        """Those that one may measure, printed or not."""
        return BLIND_TEST_SETS if self.setting else REAL_TEST_SETS

    def columns(self, only: Optional[Sequence[str]] = None) -> tuple[Column, ...]:
        """Of the test sets that it prints, or of the named ones.

        Raises:
            ValueError: no such test set.
        """
        for name in only or ():
            if name not in self.known_test_sets:
                raise ValueError(f'there is no test set {name!r}{suggest(name, list(self.known_test_sets))}')
        names = self.test_sets if only is None else [name for name in self.known_test_sets if name in only]
        places = [(name, metric, point) for name in names for point in self._points() for metric in self.metrics]
        return tuple(Column(name, metric, labels, label, f'{name}{group}', metric.upper() if self.metrics[1:] else heading)
                     for name, metric, (labels, label, group, heading) in places)

    def _points(self) -> Iterator[tuple[tuple[str, ...], str, str, str]]:
        """Labels, their common name, end of the group's name, and heading of each printed figure of a test set."""
        degradations = benchmark_degradations(self.setting, paper.SCALE) if self.setting else ()
        if self.is_mean or not self.setting:
            yield tuple(d.label for d in degradations), 'average' if self.setting else '', '', ''
            return
        for i, degradation in enumerate(degradations):
            if degradation.sigma is not None:
                yield (degradation.label,), degradation.label, '', f'{degradation.sigma:g}'
                continue
            kernel = f'kernel {i % 9 + 1}' if '*' in self.quoted else kernel_text(degradation)
            label = f'{kernel}, noise {degradation.noise:g}' if '*' in self.quoted else degradation.label
            yield (degradation.label,), label, f' noise {degradation.noise:g}', kernel

    def has_difference(self, row: str) -> bool:
        return row not in self.quoted and '*' not in self.quoted

    def printed(self) -> dict[str, Line]:
        section = paper.tables()[self.source]
        return {name: Line(name, 'printed', dict(zip(self.columns(), self._figures(row), strict=True)), _costs(row))
                for name, row in _rows(section).items()}

    def _figures(self, row: Any) -> list[float]:
        """In the order of `columns`."""
        figures = [v for k, v in row.items() if k not in ('params', *COSTS)] if isinstance(row, Mapping) else [row]
        lists = [v if isinstance(v, list) else [v] for v in figures]
        return sum(lists if self.setting is None else map(list, zip(*lists)), [])


def kernel_text(degradation: Degradation) -> str:
    return f'{degradation.theta:g}°; {degradation.lambda_1:g}, {degradation.lambda_2:g}'


def _rows(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rows by name; those of a table that is filed by noise level are put together."""
    levels = [key for key in section if key.startswith('noise_')]
    if not levels:
        return section.get('rows', section)
    costs = {key: section[key] for key in ('params', *COSTS) if key in section}
    figures = {name: sum((section[level][name] for level in levels), []) for name in section[levels[0]]}
    return {name: {'psnr': psnr, **{key: values[name] for key, values in costs.items() if name in values}}
            for name, psnr in figures.items()}


def _costs(row: Any) -> dict[str, str]:
    """As texts; parameters such as 650K+4.33M in millions, 0.65+4.33."""
    if not isinstance(row, Mapping):
        return {}
    costs = {}
    if 'params' in row:
        parts = re.findall(r'([\d.]+)([KM])', row['params'])
        costs['params_m'] = '+'.join(number if unit == 'M' else f'{float(number) / 1000:g}' for number, unit in parts)
    return costs | {key: f'{row[key]:g}' if key == 'params_m' else f'{row[key]:.2f}' for key in COSTS if key in row}


KERNELS = '; '.join(f'{i} ({kernel_text(kernel)})' for i, kernel in
                    enumerate(benchmark_degradations('nine_kernels', paper.SCALE), 1))
LIGHTBSR_TEST_SETS = ('Set5', 'Set14', 'B100', 'Urban100')
OVER_WIDTHS = 'PSNR in dB, mean over widths 1.2, 2.4 and 3.6, x4'
PAPER_TABLES = {
    'lightbsr-1': PaperTable(f'LightBSR, Table 1: degradation prior (DRP) and contrastive loss (CL). {OVER_WIDTHS}',
                             'lightbsr_table1_training', LIGHTBSR_TEST_SETS, 'setting1', is_mean=True),
    'lightbsr-2': PaperTable(f'LightBSR, Table 2: what the IDR adapts. {OVER_WIDTHS}',
                             'lightbsr_table2_adaptation', LIGHTBSR_TEST_SETS, 'setting1', is_mean=True),
    'lightbsr-3': PaperTable('LightBSR, Table 3: isotropic blur of width 1.2, 2.4 and 3.6. PSNR in dB, x4',
                             'lightbsr_table3_setting1', LIGHTBSR_TEST_SETS, 'setting1'),
    'lightbsr-4': PaperTable('LightBSR, Table 4: anisotropic blur (angle; two widths) and noise. PSNR in dB, x4',
                             'lightbsr_table4_setting2_b100', ('B100',), 'setting2'),
    'kdsr-1': PaperTable(
        'KDSR, Table 1: mean over Gaussian8. PSNR in dB and SSIM, x4', 'kdsr_table1_gaussian8', BLIND_TEST_SETS,
        'gaussian8', ('psnr', 'ssim'), is_mean=True, quoted=('Bicubic',),
        notes=('The printed bicubic row was measured on other LR images: no difference is given.',
               "KDSR's release scales the luma for SSIM otherwise: it prints 0.0001 to 0.0002 less for the same images.")),
    'kdsr-2': PaperTable(
        'KDSR, Table 2: anisotropic blur and noise. PSNR in dB, x4', 'kdsr_table2_set14_aniso', ('Set14',),
        'kdsr_setting2', quoted=('*',),
        notes=('The kernels of the printed rows are known as pictures alone. Ours are others (angle; two widths): '
               f'{KERNELS}. No difference is given.',)),
    'kdsr-3': PaperTable('KDSR, Table 3: real-world pairs. LPIPS, PSNR in dB and SSIM, x4', 'kdsr_table3_real',
                         REAL_TEST_SETS, None, ('lpips', 'psnr', 'ssim'),
                         notes=('LPIPS is measured where pyiqa is installed.',)),
    'kdsr-4': PaperTable('KDSR, Table 4: teacher and students. PSNR in dB, mean over Gaussian8, x4',
                         'kdsr_table4_urban100_gaussian8', ('Urban100',), 'gaussian8', is_mean=True),
    'kdsr-5': PaperTable('KDSR, Table 5: loss of distillation. PSNR in dB, mean over Gaussian8, x4',
                         'kdsr_table5_kd_loss_urban100', ('Urban100',), 'gaussian8', is_mean=True)}


def paper_table(name: str) -> PaperTable:
    """Raises a ValueError for an unknown name."""
    if name not in PAPER_TABLES:
        raise ValueError(f'there is no table {name!r}{suggest(name, list(PAPER_TABLES))}')
    return PAPER_TABLES[name]


# ---------------------------------------------------------------------------------------------- rows of ours
@dataclass(frozen=True)
class Line:
    """A row: `printed`, `ours`, or the `difference` of ours to a printed one.

    values: Figures by column, where there are any. costs: Texts by the keys of `COSTS`. missing: Test sets that are not
    on the disk.
    """

    name: str
    kind: str
    values: Mapping[Column, float]
    costs: Mapping[str, str] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    compared_with: Optional[str] = None


@dataclass(frozen=True)
class Comparison:
    """A paper's table with rows of ours. missing: Test sets that are not on the disk, and where they were looked for."""

    name: str
    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    missing: Mapping[str, str]


def compare(name: str, rows: Mapping[str, Mapping[str, Any]], only: Optional[Sequence[str]] = None) -> Comparison:
    """A paper's table, with each row of ours and its difference below the printed row that it belongs to.

    Args:
        name: Such as `lightbsr-3`.
        rows: Results by label, as `tables.read_results` gives them.
        only: Test sets; by default those that the table prints.

    Raises:
        ValueError: no such table or test set, results of another scale.
    """
    table = paper_table(name)
    columns = table.columns(only)
    printed = {row: replace(line, values={c: v for c, v in line.values.items() if c in columns})
               for row, line in table.printed().items()}
    lines: list[Line] = []
    ours = [_our_line(label, results, columns, printed) for label, results in rows.items()]
    for line in printed.values():
        lines.append(line)
        for own in (own for own in ours if own.compared_with == line.name):
            lines += [own, *_difference(own, line, table)]
    lines += [own for own in ours if own.compared_with is None]
    missing = {row['dataset']: row['missing'] for results in rows.values() for row in results['rows']
               if row.get('missing') and row['dataset'] in {c.test_set for c in columns}}
    test_sets = list(dict.fromkeys(c.test_set for c in columns))
    unlike = [f'{own.name}: {text}' for own in ours
              for text in paper.departures(rows[own.name], test_sets, own.compared_with is not None)]
    notes = (*table.notes, *unlike, *filter(None, (_gaps(own, columns) for own in ours)))
    return Comparison(name, table.title, columns, tuple(lines), notes, missing)


def _our_line(label: str, results: Mapping[str, Any], columns: Sequence[Column], printed: Mapping[str, Line]) -> Line:
    if results['scale'] != paper.SCALE:
        raise ValueError(f'{label}: these results are of scale {results["scale"]}, the papers have {paper.SCALE} alone')
    values = {column: value for column in columns if (value := measured(results, column)) is not None}
    costs = {'params_m': f'{results["parameters"] / 1e6:.2f}'} if results.get('parameters') is not None else {}
    missing = frozenset(row['dataset'] for row in results['rows'] if row.get('missing'))
    return Line(label, 'ours', values, costs, missing, counterpart(label, results['network'], list(printed)))


def measured(results: Mapping[str, Any], column: Column) -> Optional[float]:
    """A column's figure in a test's results, or None."""
    cells = {row['degradation']: row.get(column.metric) for row in results['rows'] if row['dataset'] == column.test_set}
    values = [cells.get(label) for label in column.degradations or ('',)]
    return None if None in values else sum(values) / len(values)


def counterpart(label: str, network: Mapping[str, Any], printed: Sequence[str]) -> Optional[str]:
    """The printed row to which a row of ours belongs.

    The one that bears the label or its first word, whole or up to the first underscore (T1 for T1_no_drp_no_cl); else the
    one that bears the paper's name of the network.
    """
    method = paper.method(network) or ''
    for wanted in (label, label.split(' ')[0], method, {'KDSR-M': 'KDSR'}.get(method, '')):
        for names in ({name.lower(): name for name in reversed(printed)},
                      {name.split('_')[0].lower(): name for name in reversed(printed)}):
            if wanted.lower() in names:
                return names[wanted.lower()]
    return None


def _difference(ours: Line, printed: Line, table: PaperTable) -> list[Line]:
    values = {c: ours.values[c] - printed.values[c] for c in ours.values if c in printed.values}
    if not values or not table.has_difference(printed.name):
        return []
    return [Line(ours.name, 'difference', values, compared_with=printed.name)]


def _gaps(ours: Line, columns: Sequence[Column]) -> str:
    """Names what a row of ours lacks, other than missing test sets."""
    gaps = dict.fromkeys(f'{column.test_set} {column.metric.upper()}' for column in columns
                         if column not in ours.values and column.test_set not in ours.missing)
    return f'{ours.name}: its results do not hold all of this table: {", ".join(gaps)}.' if gaps else ''
