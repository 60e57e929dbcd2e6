"""Words and phrases of a text, as bytes of it: who cuts, what a data set brings, and what is kept between runs."""
