"""Datasets on disk, read into a `Scene`. See design.md.

Readers, one for each layout: `scannet`, `matterport3d` (with `matterport_categories`) and `nuscenes` (the official
ones), `openscene_layout` (what OpenScene published for these three, with `openscene_folders` and `openscene_views`),
`rgbd` (a folder of posed frames, with `reconstruct`), `points` (one ply, npz, bin or pth file). `sources` lists the
scenes of any dataset, `config` names a dataset, `splits` holds the committed split lists, `formats` reads kinds of
files, `check` says what a folder is and whether it is whole.
"""
