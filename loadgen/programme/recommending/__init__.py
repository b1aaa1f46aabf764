"""Go or no-go for a release: `recommendation` decides, `rows` judge each piece of evidence, `gather` reads a store."""
