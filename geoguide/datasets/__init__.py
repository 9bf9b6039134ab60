"""Readers that turn files into a `Scene`, and the generated benchmark.

`scannet` (official layout, frames extracted or in a `sens` recording), `matterport3d` (official layout, with
`matterport_cameras`), `nuscenes` (official layout, with `nuscenes_tables`), `openscene_layout` (what OpenScene
published for these three, with `fused_features`), `rgbd` (a folder of posed frames), `points` (one ply, npz, bin or pth
file), `reconstruct` (a mesh from posed depth), `mini` (generated rooms written in ScanNet's layout), `splits` (the
committed split lists).
"""
