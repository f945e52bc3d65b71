"""Labels of training samples: drawn in balance, made rare, made wrong."""
