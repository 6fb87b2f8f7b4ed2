// Ball of radius R about the origin.
SetFactory("OpenCASCADE");
DefineConstant[ h = 0.2 ]; // mesh size
DefineConstant[ R = 1 ]; // radius
Sphere(1) = {0, 0, 0, R};
Physical Volume("ball") = {1};
Physical Surface("sphere") = Boundary{ Volume{1}; };
Mesh.MeshSizeMin = h;
Mesh.MeshSizeMax = h;
Mesh.Algorithm = 6;
Mesh.Algorithm3D = 1;
Mesh.Optimize = 0;
