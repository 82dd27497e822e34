# CartoonGAN with its PyTorch program's settings. A config adds the data: names of the domains,
# root, epoch.
_base_ = [
    'models/cartoongan.py',
    'datasets/unpaired_256_edges.py',
    'schedules/cartoongan_110e.py',
    'default_runtime.py',
]
train_dataloader = dict(batch_size=8)
model = dict(init_iters=1_000)  # ten epochs of the schedule
