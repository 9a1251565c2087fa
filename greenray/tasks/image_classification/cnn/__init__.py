"""Convolutional networks as they are built for CIFAR: images of 32 x 32, so no stem that throws three quarters of them away."""
