"""Measure detections against what people say is in images: numpy, scipy and pycocotools only."""
