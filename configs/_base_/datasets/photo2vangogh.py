# photo -> vangogh: CycleGAN's vangogh2photo with A and B exchanged. The 400 paintings
# are training and test set.
data_root = 'data/photo2vangogh'
domain_names = dict(A='photo', B='vangogh')
paper_images = dict(trainA=6287, trainB=400, testA=751, testB=400)  # the paper's counts
epoch_iters = max(paper_images['trainA'], paper_images['trainB'])  # at batch size 1
