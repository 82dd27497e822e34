# selfie -> anime: 3400 + 3400 training and 100 + 100 test images, all 256 x 256.
data_root = 'data/selfie2anime'
domain_names = dict(A='selfie', B='anime')
paper_images = dict(trainA=3400, trainB=3400, testA=100, testB=100)  # the paper's counts
epoch_iters = max(paper_images['trainA'], paper_images['trainB'])  # at batch size 1
