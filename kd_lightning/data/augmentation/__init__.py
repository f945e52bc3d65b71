"""How training images vary: on the device, and for a strongly augmented second view."""
