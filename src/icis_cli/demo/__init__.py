"""The demonstration: a real ImageNet classifier loses every fifth class and gets it back."""
