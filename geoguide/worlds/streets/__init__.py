"""mini-nuScenes: small streets, generated from a seed and driven through with a simulated LiDAR and six cameras."""
