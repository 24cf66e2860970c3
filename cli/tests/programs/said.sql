SELECT 'read' AS y;
