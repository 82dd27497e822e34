# photo -> portrait: DRIT's photographs and portraits. The paper's training counts are
# DRIT's totals; its random test split is unpublished.
data_root = 'data/photo2portrait'
domain_names = dict(A='photo', B='portrait')
paper_images = dict(trainA=6452, trainB=1811, testA=751, testB=400)  # the paper's counts
epoch_iters = max(paper_images['trainA'], paper_images['trainB'])  # at batch size 1
