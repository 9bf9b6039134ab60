"""Shape programs: what stands in rooms, houses and streets."""
