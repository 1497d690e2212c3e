"""Measure detections against what people say is in the images: numpy, scipy and pycocotools only."""
