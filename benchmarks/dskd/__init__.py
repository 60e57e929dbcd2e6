"""What the projectors of DSKD do, on two trained models."""
