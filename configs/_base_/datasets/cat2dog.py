# cat -> dog: DRIT's cats and dogs. The paper's training figures are DRIT's totals
# and its test figures repeat horse2zebra's; tools/dataset_converters/prepare.py says more.
data_root = 'data/cat2dog'
domain_names = dict(A='cat', B='dog')
paper_images = dict(trainA=871, trainB=1364, testA=120, testB=140)  # the paper's counts
epoch_iters = max(paper_images['trainA'], paper_images['trainB'])  # at batch size 1
