"""Readers that turn files into a `Scene`, and the generated benchmark.

`scannet` (official layout, frames extracted or in a `sens` recording), `matterport3d` (official layout, with
`matterport_cameras`), `openscene_layout` (what OpenScene published for three datasets, with `fused_features`),
`rgbd` (a folder of posed frames), `points` (one ply, npz, bin or pth file), `reconstruct` (a mesh from posed depth),
`mini` (generated rooms written in ScanNet's layout).
"""
