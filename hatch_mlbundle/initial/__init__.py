"""What `mlbundle init` goes by and writes: the project as it is, the artifact as it is, and a configuration that fits both."""
