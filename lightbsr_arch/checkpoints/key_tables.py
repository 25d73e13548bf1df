"""The releases' keys beside ours: tables of prefixes for one size of network."""
from __future__ import annotations

LIGHTBSR_ENCODERS = {
    'LightBSR': {'E.E.': 'estimator.'},
    'LightBSRTeacher': {
        'E.encoder_q.E.': 'encoder.query.estimator.', 'E.encoder_q.mlp.': 'encoder.query.projector.',
        'E.encoder_k.E.': 'encoder.key.estimator.', 'E.encoder_k.mlp.': 'encoder.key.projector.',
        'E.queue_ptr': 'encoder.queue_pointer', 'E.queue': 'encoder.queue'}}
CONVERTER = {'G.compress.0.': 'converter.channel.', 'G.afterpixshuffle.0.': 'converter.spatial.'}
GROUP = {'ca_change.avgafter.': 'correction.channel.', 'xk_change.sig1.': 'correction.spatial.'}
BLOCK = {'spatial_mixing.spatial_attention.': 'spatial_gate.', 'spatial_mixing.partial_conv3.': 'spatial_conv.',
         'spatial_mixing.loc.avgafter.': 'channel_gate.'}
CONVNEXT = {'gamma': 'gamma', 'dwconv.': 'depthwise.', 'norm.': 'norm.', 'pwconv1.': 'expand.', 'pwconv2.': 'project.'}
KDSR_ESTIMATORS = {'KDSR': 'E_st.', 'KDSRTeacher': 'E.'}
KDSR_ESTIMATOR = {'E.': 'features.', 'mlp.': 'distill.', 'compress.': 'guide.'}
DYNAMIC_BLOCK = {'da_conv1.kernel.': 'kernel.', 'conv1.': 'conv.'}


def lightbsr_table(arch: str, scale: int, num_group: int, num_block: int) -> dict[str, str]:
    """Upstream prefix -> ours, of LightBSR's student and teacher."""
    table = {**LIGHTBSR_ENCODERS[arch], **CONVERTER, **_ends_table(scale, num_group)}
    for g in range(num_group):
        theirs, ours = f'G.body.{g}.', f'trunk.groups.{g}.'
        table |= {theirs + a: ours + b for a, b in GROUP.items()}
        for k in range(num_block):
            table |= {f'{theirs}body.{k}.{a}': f'{ours}blocks.{k}.{b}' for a, b in BLOCK.items()}
            table |= {f'{theirs}body.{k}.{a}': f'{ours}blocks.{k}.body.{b}' for a, b in CONVNEXT.items()}
        table |= {f'{theirs}body.{num_block}.{a}': f'{ours}convnext.{b}' for a, b in CONVNEXT.items()}
        table[f'{theirs}body.{num_block + 1}.'] = f'{ours}conv.'
    return table


def kdsr_table(arch: str, scale: int, num_block: int, num_estimator_block: int) -> dict[str, str]:
    """Upstream prefix -> ours, of KDSR's student and teacher."""
    estimator = KDSR_ESTIMATORS[arch]
    table = {estimator + a: f'estimator.{b}' for a, b in KDSR_ESTIMATOR.items()} | _ends_table(scale, 1)
    table |= {f'{estimator}E.{i}.body.': f'estimator.features.{i}.' for i in range(2, 2 + num_estimator_block)}
    for k in range(num_block):
        table |= {f'G.body.0.body.{k}.{a}': f'trunk.blocks.{k}.{b}' for a, b in DYNAMIC_BLOCK.items()}
    return table


def _ends_table(scale: int, fusion: int) -> dict[str, str]:
    """The SR network's first and last layers; `fusion` is the index of the convolution behind the body."""
    num_shuffle = 2 if scale == 4 else 1
    table = {f'G.tail.0.{2 * i}.': f'trunk.upsampler.{2 * i}.' for i in range(num_shuffle)}
    return table | {'G.head.0.': 'trunk.head.', f'G.body.{fusion}.': 'trunk.fusion.',
                    'G.tail.1.': f'trunk.upsampler.{2 * num_shuffle}.'}
