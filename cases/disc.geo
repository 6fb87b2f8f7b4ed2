// Disc of radius R about the origin. gmsh -2 disc.geo -setnumber h 0.2
DefineConstant[ h = 0.5 ]; // mesh size
DefineConstant[ R = 5 ]; // radius
Point(1) = {0, 0, 0, h};
For i In {0:3}
  Point(10 + i) = {R * Cos(i * Pi/2), R * Sin(i * Pi/2), 0, h};
EndFor
For i In {0:3}
  Circle(10 + i) = {10 + i, 1, 10 + (i + 1) % 4};
EndFor
Curve Loop(1) = {10, 11, 12, 13};
Plane Surface(1) = {1};
Physical Surface("disc") = {1};
Physical Curve("wall") = {10, 11, 12, 13};
Mesh.Algorithm = 6;
