from tests import tiny_options as tiny

def test_both(images, tmp_path, run_cli):
    assert run_cli('train', '-opt', tiny.write(tiny.teacher(images), tmp_path)) == 0
    assert run_cli('train', '-opt', tiny.write(tiny.student(images, tmp_path / 'experiments/teacher/models/net_g_latest.pth'), tmp_path)) == 0
    assert run_cli('test', '-opt', tiny.write(tiny.benchmark(images), tmp_path)) == 0
    opt = tiny.benchmark(images, 'b', model_type='LightBSRStudentModel', network_g={'type':'LightBSR',**tiny.TINY}, path={'pretrain_network_g': str(tmp_path / 'experiments/student/models/net_g_latest.pth')})
    assert run_cli('test', '-opt', tiny.write(opt, tmp_path)) == 0
