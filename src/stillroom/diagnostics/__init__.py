"""What happens inside training: gradients, features, the loss around a student; it never trains."""
