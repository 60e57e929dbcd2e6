"""What happens inside training: gradients against each other, features before and after projection, the loss around a student; it measures and never trains."""
