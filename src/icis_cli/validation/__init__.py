"""Validation without images: held-out seen classes, stand-ins for images, selection, certainty."""
