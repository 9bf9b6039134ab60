"""Shape programs: small functions that build what stands in rooms, houses and streets. They come in two kinds.

- Makers take a random generator `rng`, the source of every size and colour, and return a new `Piece`. Rooms and streets
  are built of them: `bathroom`, `clutter`, `seating`, `storage`, `surfaces`, `wall_things` (rooms, put together in
  `groups`); `vehicles`, `small_things`, `surroundings`, `ground` (streets).
- Families (`draw_...`) take a `Piece` whose object is begun, and the width, depth and height that they draw within.
  Houses are built of them: `solids` and `fixtures`. `vocabulary` says which family draws which name at which
  sizes, and `build` does it.

Lengths are metres.
"""
