"""Measure detections against what people say is in the images: numpy and pycocotools only."""
