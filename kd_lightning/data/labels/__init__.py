"""What is known of training samples one by one: labels in balance, made rare or wrong, values of a file."""
