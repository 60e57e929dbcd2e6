"""Who answers for the teacher; never which objective asks."""
