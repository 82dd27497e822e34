# cat -> dog: DRIT's cats and dogs. The paper's training counts are DRIT's totals, its test counts
# repeat horse2zebra's; `ugatit prepare` says more.
data_root = 'data/cat2dog'
domain_names = dict(A='cat', B='dog')
paper_images = dict(trainA=871, trainB=1364, testA=120, testB=140)  # the paper's counts
epoch_iters = max(paper_images['trainA'], paper_images['trainB'])  # at batch size 1
