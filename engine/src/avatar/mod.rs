//! An avatar: one image, its keypoints, mesh, skin weights and layers.
