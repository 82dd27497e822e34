# Table 1: U-GAT-IT itself, the first row.
_base_ = '../ugatit_selfie2anime.py'
