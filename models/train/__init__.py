"""Training: vocabulary, data, augmentation, losses, the loop, calibration and export. Needs the extra `torch`."""
