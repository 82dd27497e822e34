# horse -> zebra: horses and zebras of ImageNet, as CycleGAN split them.
data_root = 'data/horse2zebra'
domain_names = dict(A='horse', B='zebra')
paper_images = dict(trainA=1067, trainB=1334, testA=120, testB=140)  # the paper's counts
epoch_iters = max(paper_images['trainA'], paper_images['trainB'])  # at batch size 1
