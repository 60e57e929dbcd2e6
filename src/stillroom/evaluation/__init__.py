"""The mark a student gets: likelihood, agreement with the teacher, generation; never its insides."""
